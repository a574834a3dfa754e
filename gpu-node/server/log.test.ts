import { execFile } from 'node:child_process'
import { promisify } from 'node:util'
import { expect, it } from 'vitest'
import { failureText } from './log.ts'

const script = `
  import { logToStdout } from ${JSON.stringify(new URL('./log.ts', import.meta.url))}
  const { dropped, log } = logToStdout('info')
  for (let i = 0; i < 10; i++) log('info', 'event', { i })
  await new Promise((resolve) => setTimeout(resolve, 50))
  process.stderr.write(String(dropped()))`

it.runIf(process.platform === 'linux')(
  'a log on a full disk ends no process, and counts what it loses',
  async () => {
    const command = ['-c', 'exec "$0" --input-type=module --eval "$1" > /dev/full', process.execPath, script]
    expect((await promisify(execFile)('sh', command)).stderr).toBe('10')
  },
)

it('a failure is one line, which has each cause once', () => {
  const cause = new Error('no adapter\n    at the driver\n')
  expect(failureText(new Error('no device', { cause }))).toBe('no device (no adapter at the driver)')
  expect(failureText(new Error('no device: busy; wait', { cause: new Error('busy') }))).toBe(
    'no device: busy; wait',
  )
})
