"""What runs in the fork server and its workers. Standard library only: there is no site-packages
there.
"""
