"""The report as a site: HTML files that open from a folder, ask nothing of a network, and say where each number is from."""
