"""What plugins implement and exchange."""
