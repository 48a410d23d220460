"""What the service knows: tables and migrations, the ledger of submissions and jobs, files by what they hold."""
