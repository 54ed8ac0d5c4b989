"""A policy for the tools of an assistant, and the calls of users and attackers that it is tested with."""
