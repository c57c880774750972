"""What `--doctor` looks at on a machine: each finding has a verdict, and a remedy when it is not well."""
