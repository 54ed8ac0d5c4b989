"""Two hundred sessions of stateful tools, routed, recorded and replayed."""
