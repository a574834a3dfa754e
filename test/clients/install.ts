import { execFile } from 'node:child_process'
import { access, cp, mkdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import type { Client } from './clients.ts'

const run = promisify(execFile)
const scripts = { npm: 'js', pypi: 'python' } as const

/** How a client's script is run. */
export interface Installed {
  readonly command: string
  readonly words: readonly string[]
  readonly folder: string
}

/** Installs a client in a folder of its own, unless these versions lie there already, and puts its script beside it. */
export async function install(client: Client, root: string): Promise<Installed> {
  const folder = join(root, client.script.replace(/\.\w+$/, ''))
  await mkdir(folder, { recursive: true })
  await cp(join(import.meta.dirname, scripts[client.from]), folder, { recursive: true })
  const wanted = JSON.stringify(client.packages)
  const mark = join(folder, 'installed.json')
  if ((await readFile(mark, 'utf8').catch(() => '')) !== wanted) {
    await installers[client.from](client, folder)
    await writeFile(mark, wanted)
  }
  const script = join(folder, client.script)
  return client.from === 'npm'
    ? { command: process.execPath, words: [script], folder }
    : { command: pythonIn(folder), words: [script], folder }
}

const pythonIn = (folder: string) => join(folder, 'venv/bin/python')

const installers = {
  async npm({ packages }: Client, folder: string): Promise<void> {
    const manifest = { private: true, type: 'module', dependencies: packages }
    await writeFile(join(folder, 'package.json'), JSON.stringify(manifest))
    await run('npm', ['install', '--no-audit', '--no-fund', '--no-package-lock'], { cwd: folder })
  },
  async pypi({ packages }: Client, folder: string): Promise<void> {
    await access(pythonIn(folder)).catch(() => run('python3', ['-m', 'venv', join(folder, 'venv')]))
    const wanted = Object.entries(packages).map(([name, version]) => `${name}==${version}`)
    await run(
      pythonIn(folder),
      ['-m', 'pip', 'install', '--quiet', '--disable-pip-version-check', ...wanted],
      {
        maxBuffer: 2 ** 24,
      },
    )
  },
} as const
