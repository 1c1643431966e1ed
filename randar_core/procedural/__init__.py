"""Pictures that are drawn from a seed alone: shapes and landscapes."""
