"""Who may come in, what each may see, and how much each may use."""
