import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { expect, it, onTestFinished } from 'vitest'
import { treeCpuSeconds } from './process-cpu.ts'

/** Works for 0.3 s of CPU, says so, and stays. */
const busy = `while (process.cpuUsage().user < 300_000); console.log('done'); setInterval(() => {}, 1000)`
/** Does nothing itself. */
const parent = `
const child = require('node:child_process').spawn(process.execPath, ['-e', process.argv[1]], { stdio: ['ignore', 1, 2] })
process.on('SIGTERM', () => { child.kill(); process.exit() })`

it.skipIf(process.platform !== 'linux')(
  'the CPU time of a process counts what its descendants use',
  async () => {
    const child = spawn(process.execPath, ['-e', parent, busy], { stdio: ['ignore', 'pipe', 'inherit'] })
    onTestFinished(async () => {
      child.kill()
      await once(child, 'exit')
    })
    await once(child.stdout, 'data')
    expect(treeCpuSeconds(child.pid ?? 0)).toBeGreaterThanOrEqual(0.29)
  },
)
