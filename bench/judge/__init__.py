"""What a finished run shows: its rows as a table, their statistics, its predictions scored."""
