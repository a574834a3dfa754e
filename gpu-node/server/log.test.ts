import { execFile } from 'node:child_process'
import { promisify } from 'node:util'
import { expect, it } from 'vitest'

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
