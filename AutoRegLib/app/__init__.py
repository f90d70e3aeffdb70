"""What a user starts: command line, worker of a job folder, demo."""
