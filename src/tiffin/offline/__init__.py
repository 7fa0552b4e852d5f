"""Offline: histories of features in files and warehouses, and the point-in-time join over them."""
