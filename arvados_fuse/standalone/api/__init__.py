"""The REST API: its methods, how requests become calls of them, and the discovery document."""
