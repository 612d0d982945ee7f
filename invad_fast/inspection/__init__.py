"""Judging single parts: images in, one verdict each out."""
