import { describe, expect, it } from 'vitest'
import { describeSettings, readConfig } from './config.ts'

const secret = 's'.repeat(32)

function refusal(args: string[], env: Record<string, string> = { QUARTET_NODE_SECRET: secret }): string {
  try {
    readConfig(args, env)
  } catch (error) {
    return error instanceof Error ? error.message : ''
  }
  throw new Error('the settings were accepted')
}

describe("a node's settings", () => {
  it('come from flags, else the environment, else defaults', () => {
    const env = {
      QUARTET_NODE_SECRET: secret,
      QUARTET_NODE_PORT: '9000',
      QUARTET_MAX_BATCH: '4',
      QUARTET_QUEUE: '',
    }
    expect(readConfig(['--port', '9001', '--backbone=/tmp/b', '--weights', 'q4'], env)).toMatchObject({
      port: 9001,
      maxBatch: 4,
      queue: 256,
      host: '127.0.0.1',
      device: 'cpu',
      backbone: '/tmp/b',
      weights: 'q4',
    })
  })

  it('that are wrong are named, with the remedy', () => {
    expect(refusal(['--port', '70000'])).toBe('--port or QUARTET_NODE_PORT must be at most 65535')
    expect(refusal(['--max-batch', 'many'])).toContain(
      '--max-batch or QUARTET_MAX_BATCH must be a whole number',
    )
    expect(refusal(['--device', 'tpu'])).toContain('must be cpu, webgpu or cuda')
    expect(refusal(['--weights', 'q5'])).toContain('--weights or QUARTET_WEIGHTS must be one of q8, q4, f32')
    expect(refusal(['--edge', 'ftp://x'])).toMatch(/^--edge or QUARTET_EDGE_URL must be an http or https URL/)
    expect(refusal(['--advertise', 'here'])).toMatch(/^--advertise or QUARTET_NODE_URL must be an http/)
    expect(refusal(['--advertise', 'http://10.0.0.7:8788/v1'])).toMatch(/^--advertise .* no path/)
    expect(refusal(['--region', 'Europe'])).toMatch(/^--region or QUARTET_REGION must have at most 32 of a-z/)
    expect(refusal(['--id', 'my node'])).toMatch(/^--id or QUARTET_NODE_ID a node id has 1 to 64 of letters/)
    expect(refusal(['--bort', '1'])).toContain("'--bort'")
    expect(refusal([], {})).toMatch(
      /^QUARTET_NODE_SECRET is required: .*openssl rand.*\.quartet\/secrets\.json/,
    )
    expect(refusal([], { QUARTET_NODE_SECRET: 'hunter2' })).toContain('at least 32 bytes')
    expect(refusal([], { QUARTET_NODE_SECRET: 'hunter2' })).not.toContain('hunter2')
  })

  it('never take the secret from a flag', () => {
    expect(refusal(['--secret', secret])).toContain("'--secret'")
    expect(describeSettings()).not.toContain('--secret')
  })
})
