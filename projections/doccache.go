package projections

import "sync"

// docCache keeps the documents of jobs that are asked for again and again, whole as the
// HTTP interface answers them. What a commit changed is forgotten before anybody is told
// of the commit, so nobody who waits for a position reads an older document.
type docCache struct {
	mu      sync.RWMutex
	docs    map[string][]byte
	size    int
	limit   int
	commits uint64
}

// get returns a document and, where there is none, the number to put it under.
func (c *docCache) get(id string) ([]byte, uint64) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.docs[id], c.commits
}

// put keeps a document that was read after get had answered commits. If there was a
// commit in between it may be older than what that commit wrote, and is not kept.
func (c *docCache) put(id string, doc []byte, commits uint64) {
	if len(doc) > c.limit/16 {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.commits != commits {
		return
	}
	if c.docs == nil {
		c.docs = make(map[string][]byte)
	}
	c.drop(id)
	c.docs[id] = doc
	c.size += len(id) + len(doc)
	for other := range c.docs { // in no order: good enough, and costs nothing on reading
		if c.size <= c.limit {
			return
		}
		c.drop(other)
	}
}

func (c *docCache) drop(id string) {
	if doc, ok := c.docs[id]; ok {
		c.size -= len(id) + len(doc)
		delete(c.docs, id)
	}
}

// forget drops the documents of jobs that have changed.
func (c *docCache) forget(ids []string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.commits++
	if len(c.docs) == 0 {
		return
	}
	for _, id := range ids {
		c.drop(id)
	}
}
