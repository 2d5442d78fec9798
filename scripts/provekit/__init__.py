"""The parts of scripts/prove-prediction: tables, logs of nccl-tests, the lab, products."""
