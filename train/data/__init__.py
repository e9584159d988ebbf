"""Reads files and traffic as rows, and splits them so that none leaks."""
