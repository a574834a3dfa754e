import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { writeGguf, writeHuggingFace } from '../../test/model-files.ts'
import { importBackbone } from './import.ts'

let root: string
beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), 'quartet-template-'))
})
afterAll(() => rm(root, { recursive: true }))

test('a chat template can be given in place of one that the files lack or that is broken', async () => {
  const folder = await mkdtemp(join(root, 'template-'))
  const [path, chatTemplate] = [join(folder, 'model'), join(folder, 'own.jinja')]
  await writeHuggingFace(path)
  await writeFile(join(path, 'chat_template.jinja'), '{% for %}')
  await writeFile(chatTemplate, 'own {{ messages[0].content }}')
  const given = { path, slug: 'given', weights: 'f32', destination: join(folder, 'made') } as const
  const manifest = await importBackbone({ ...given, chatTemplate })
  expect(manifest.chat.template).toBe('own {{ messages[0].content }}')

  await writeGguf(join(folder, 'm.gguf'), { metadata: { 'tokenizer.chat_template': '{% for %}' } })
  const other = { ...given, path: join(folder, 'm.gguf'), destination: join(folder, 'other') }
  expect((await importBackbone({ ...other, chatTemplate })).chat).toEqual(manifest.chat)

  await writeFile(chatTemplate, '{{ nothing }}')
  await expect(
    importBackbone({ ...other, destination: join(folder, 'broken'), chatTemplate }),
  ).rejects.toThrow(/own.jinja: the chat template renders a conversation to nothing/)
  const absent = join(folder, 'absent.jinja')
  await expect(importBackbone({ ...other, chatTemplate: absent })).rejects.toThrow(
    `there is no file ${absent}`,
  )
})
