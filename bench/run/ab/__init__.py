"""Two arms measured in turn: what each sets, in which order, and the processes that measure."""
