"""Whether a message really took the direct path between GPU and network card, and how we know.

E0 static facts (`static`, `topology`), E1 traces (`ucx`, `nccl`), E2 control runs (`arms`), E3 byte
counters (`counters`), E4 interference; `judge` turns all of it into one word with its reason.
"""
