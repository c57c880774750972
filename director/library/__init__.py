"""The library: a program gives a server instructions as the command line does; see docs/library.md."""
