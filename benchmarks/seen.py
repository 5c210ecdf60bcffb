async def filed_to_seen(*a):
    pass
