"""Stores: logs with what it takes to find an execution in them again."""
