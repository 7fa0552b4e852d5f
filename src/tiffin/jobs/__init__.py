"""Jobs: work that goes on while its caller does something else, recorded where every process can see it."""
