"""What every process needs: greenlets, signals, logs, locks, paths."""
