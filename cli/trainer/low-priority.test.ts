import { execFile } from 'node:child_process'
import { promisify } from 'node:util'
import { expect, it } from 'vitest'

const script = `
  import { readdir, readFile } from 'node:fs/promises'
  import { takePriority } from ${JSON.stringify(new URL('./low-priority.ts', import.meta.url).href)}
  await takePriority(19)
  const threads = await Promise.all((await readdir('/proc/self/task')).map((thread) => readFile('/proc/self/task/' + thread + '/stat', 'utf8')))
  const autogroup = await readFile('/proc/self/autogroup', 'utf8').catch(() => undefined)
  console.log(JSON.stringify({ nices: threads.map((stat) => Number(stat.slice(stat.lastIndexOf(')')).split(' ')[17])), autogroup }))
`

it.runIf(process.platform === 'linux')(
  'every thread has the lowest priority, and so has the session',
  async () => {
    // A session of its own, as `npm start` gives the trainer: the session of this test keeps its priority.
    const { stdout } = await promisify(execFile)('setsid', [
      '--wait',
      process.execPath,
      '--input-type=module',
      '--eval',
      script,
    ])
    const { autogroup, nices } = JSON.parse(stdout)
    expect(new Set(nices)).toEqual(new Set([19]))
    if (autogroup !== undefined) expect(autogroup).toMatch(/nice 19\s*$/)
  },
)
