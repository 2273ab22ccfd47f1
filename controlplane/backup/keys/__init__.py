"""Key files of people, and the repository's secrets wrapped for each of them."""
