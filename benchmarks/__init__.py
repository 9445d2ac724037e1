"""What lunette costs, against named baselines in the same run: `nox -s bench`."""
