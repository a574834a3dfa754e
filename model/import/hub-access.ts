import { getHFHubCachePath, HUB_URL } from '@huggingface/hub'

/** Every call to the model hub needs these. */
export interface HubAccess {
  readonly hubUrl: string
  readonly accessToken?: string
}

/** HF_ENDPOINT (huggingface.co by default), with HF_TOKEN where that is set. Throws when HF_HUB_OFFLINE is set. */
export function hubAccess(
  { HF_ENDPOINT, HF_TOKEN, HUGGING_FACE_HUB_TOKEN, HF_HUB_OFFLINE = '' }: NodeJS.ProcessEnv = process.env,
): HubAccess {
  if (!['', '0', 'false'].includes(HF_HUB_OFFLINE.toLowerCase())) throw new Error('HF_HUB_OFFLINE is set')
  const accessToken = HF_TOKEN || HUGGING_FACE_HUB_TOKEN
  return {
    hubUrl: (HF_ENDPOINT || HUB_URL).replace(/\/+$/, ''),
    ...(accessToken ? { accessToken } : {}),
  }
}

/** Where the hub's tools keep what they download: HF_HUB_CACHE, else HF_HOME/hub, else ~/.cache/huggingface/hub. */
export function hubCacheRoot(): string {
  return getHFHubCachePath()
}
