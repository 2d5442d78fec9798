"""The parts of scripts/lab, from the floor up: errors, cluster, namespaces, links, hosts."""
