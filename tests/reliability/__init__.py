"""What must hold when processes die, disks fill, files rot and many writers meet.

======================  ==============================================================================
file                    story
======================  ==============================================================================
forkserver.py           cheap child processes: forked from one that imported the package, opened nothing
story.py                a seeded sequence of writes, and the model that says what it must leave behind
kill_campaign.py        SIGKILL at random points; every acknowledged write must be there, none torn
contention.py           processes x threads of read-modify-write; no lost update, no busy error
sharded_moves.py        namespaces move between shards under writers, the mover is killed; no lost write, no stale read
power_loss.py           a VFS that records writes and syncs; every disk that a power cut could leave
failing_vfs.py          a VFS whose disk fills up or whose fsync fails on command
damage.py               foreign, hostile, flipped and truncated files
======================  ==============================================================================

Children run as ``module:function`` of this package and speak in lines over a pipe of their own.
"""
