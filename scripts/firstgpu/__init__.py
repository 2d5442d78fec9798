"""The steps of scripts/first-gpu, each a question to a GPU that nobody has asked before."""
