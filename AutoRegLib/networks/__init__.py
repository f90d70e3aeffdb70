"""The registration networks: operators, cells, and the table of named networks."""
