import { randomBytes } from 'node:crypto'
import { z } from 'zod'
import type { Home } from './home.ts'
import { readJsonFile, writeJsonFile } from './json-file.ts'

/** The secrets that the local stack's parts share: edge and node (`nodeSecret`), command line and edge (`adminKey`). */
const LocalSecrets = z.strictObject({ nodeSecret: z.string().min(32), adminKey: z.string().min(32) })
export type LocalSecrets = z.infer<typeof LocalSecrets>

const newSecret = () => randomBytes(32).toString('base64url')

export function readLocalSecrets({ secrets }: Home): Promise<LocalSecrets | undefined> {
  return readJsonFile(secrets, LocalSecrets)
}

/** This home's secrets, made on first use. */
export async function ensureLocalSecrets(home: Home): Promise<LocalSecrets> {
  const known = await readLocalSecrets(home)
  if (known !== undefined) return known
  const secrets = { nodeSecret: newSecret(), adminKey: newSecret() }
  await writeJsonFile(home.secrets, secrets)
  return secrets
}
