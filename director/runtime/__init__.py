"""What any process of Director needs to run: greenlets, signals, logs, locks, paths."""
