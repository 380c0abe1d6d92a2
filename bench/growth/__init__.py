"""What one upload, one refusal and one idle second cost when there is ten times more of everything.

Each thing that can grow is grown by ten, and ten again. Its operations should cost the same, or a little more
(a logarithm), and none should hold up the event loop for longer than 20 ms.
"""
