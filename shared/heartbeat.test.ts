import { expect, test } from 'vitest'
import { nodeStatus } from '../test/edge/node-status.ts'
import { Heartbeat } from './heartbeat.ts'

test('a heartbeat may say only where a node is, not what is to be asked of it', () => {
  const beat = { ...nodeStatus(), settlements: [] }
  expect(Heartbeat.safeParse(beat).success).toBe(true)
  for (const url of ['http://user@10.0.0.1', 'http://10.0.0.1/v1?x=', 'file:///etc/passwd'])
    expect(Heartbeat.safeParse({ ...beat, url }).error?.issues[0]?.path).toEqual(['url'])
})
