"""The commands of the server, and the UNIX socket through which operators reach them."""
