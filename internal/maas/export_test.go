package maas

import "time"

// Limit sets how long a client waits for the answer to one request.
func (c *Client) Limit(limit time.Duration) { c.limit, c.listLimit = limit, limit }
