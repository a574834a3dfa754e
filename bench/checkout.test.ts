import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, it, onTestFinished } from 'vitest'
import { benchBefore } from './before.ts'
import { checkoutNamed, thisCheckout } from './checkout.ts'

async function newFolder(): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'quartet-checkout-'))
  onTestFinished(() => rm(folder, { recursive: true }))
  return folder
}

it('a folder that cannot be started is refused with what it lacks and the remedy', async () => {
  const make = 'git worktree add FOLDER COMMIT makes one, and npm ci in it gets its packages'
  const refused = (named: string | undefined, message: string, remedy = make) =>
    expect(checkoutNamed(named)).rejects.toMatchObject({ name: 'CliFailure', message, remedy })
  for (const named of [undefined, ''])
    await refused(named, '--checkout is missing: the folder of an earlier commit of this project')
  const folder = await newFolder()
  await refused(join(folder, 'none'), `--checkout names no folder: ${join(folder, 'none')}`)
  const other = `--checkout is no checkout of this project: ${folder}`
  await refused(folder, other)
  await mkdir(join(folder, 'cli'))
  await writeFile(join(folder, 'cli', 'main.ts'), '')
  await refused(folder, other)
  for (const text of ['{', '{"name": "another"}']) {
    await writeFile(join(folder, 'package.json'), text)
    await refused(folder, other)
  }
  await writeFile(join(folder, 'package.json'), '{"name": "quartet"}')
  await refused(folder, `--checkout has no node_modules: ${folder}`, 'run npm ci in it')
  await mkdir(join(folder, 'node_modules'))
  expect(await checkoutNamed(folder)).toEqual({ folder, commit: '' })
})

it('this checkout can be named as the other one', async () => {
  const own = await thisCheckout()
  expect(await checkoutNamed(own.folder)).toEqual(own)
})

it('rounds that are no number are refused before anything starts', async () => {
  const own = await thisCheckout()
  for (const rounds of ['0', '1.5', 'many', ''])
    await expect(benchBefore({ checkout: own.folder, rounds })).rejects.toMatchObject({
      name: 'CliFailure',
      message: `--rounds is not a number of rounds: ${rounds}`,
    })
})
