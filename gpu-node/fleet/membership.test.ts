import { describe, expect, it } from 'vitest'
import { assertReachable, membershipOf } from './membership.ts'

const edge = 'https://edge.example'

describe('a node’s place in the fleet', () => {
  it('is none without an edge', () => {
    const alone = { edge: undefined, advertise: undefined, nodeId: undefined, region: '' }
    expect(membershipOf(alone, 'http://127.0.0.1:8788')).toBeUndefined()
    expect(() => assertReachable({ ...alone, host: '0.0.0.0' })).not.toThrow()
  })

  it('is where it listens under its host’s name, unless said otherwise', () => {
    const plain = { edge, advertise: undefined, nodeId: undefined, region: 'eu' }
    expect(membershipOf(plain, 'http://127.0.0.1:9001')).toMatchObject({
      edge,
      url: 'http://127.0.0.1:9001',
      region: 'eu',
      node: expect.stringMatching(/^[A-Za-z0-9._-]{0,59}-9001$/),
    })
    expect(membershipOf({ ...plain, advertise: 'https://gpu-7.example' }, 'http://0.0.0.0:8788')?.url).toBe(
      'https://gpu-7.example',
    )
  })

  it('must be one that edges can reach', () => {
    for (const host of ['0.0.0.0', '::'])
      expect(() => assertReachable({ edge, advertise: undefined, host })).toThrow(
        /--advertise or QUARTET_NODE_URL is required .* say where edges reach it/,
      )
  })
})
