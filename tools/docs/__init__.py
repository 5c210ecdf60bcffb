"""Pages that are made from the code and the tables, so that they cannot say anything else."""
