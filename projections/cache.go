package projections

import "slices"

func sortNodes(l []*node) {
	slices.SortFunc(l, func(a, b *node) int { return int(a.number) - int(b.number) })
}

// jobCache keeps the jobs that had events lately, the newest first, so that a job is read
// back from SQLite only when it has slept for long.
type jobCache struct {
	byID   map[string]*job
	newest *job
	oldest *job
	weight int // jobs and their open nodes
}

// maxCacheWeight bounds the cache: some 30 MB when it is full.
const maxCacheWeight = 50_000

func (c *jobCache) get(id string) *job {
	j := c.byID[id]
	if j != nil && j != c.newest {
		c.unlink(j)
		c.link(j)
	}
	return j
}

func (c *jobCache) put(j *job) {
	if c.byID == nil {
		c.byID = make(map[string]*job)
	}
	c.byID[j.id] = j
	c.link(j)
}

func (c *jobCache) remove(j *job) {
	delete(c.byID, j.id)
	c.unlink(j)
}

func (c *jobCache) link(j *job) {
	j.older, j.newer = c.newest, nil
	if c.newest != nil {
		c.newest.newer = j
	} else {
		c.oldest = j
	}
	c.newest = j
}

func (c *jobCache) unlink(j *job) {
	if j.newer != nil {
		j.newer.older = j.older
	} else {
		c.newest = j.older
	}
	if j.older != nil {
		j.older.newer = j.newer
	} else {
		c.oldest = j.newer
	}
	j.older, j.newer = nil, nil
}

// settle weighs a job again whose changes are written, and forgets it when it has ended.
func (c *jobCache) settle(j *job) {
	c.weight -= j.weight
	j.weight = 0
	if j.phase.Final() {
		c.remove(j)
		return
	}
	j.weight = 1 + j.nodes.len()
	c.weight += j.weight
}

// trim forgets the jobs that slept longest. All changes must be written. The newest stays,
// however large it is.
func (c *jobCache) trim() {
	for c.weight > maxCacheWeight && c.oldest != c.newest {
		c.weight -= c.oldest.weight
		c.remove(c.oldest)
	}
}
