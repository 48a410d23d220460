"""Language rounds: text tasks, backdoor attacks, poisoned language models."""
