"""What a finished run says: its rows as a table, their statistics, its predictions scored."""
