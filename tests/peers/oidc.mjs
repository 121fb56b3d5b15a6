// A login server of another project: oidc-provider (OpenID certified), with one account that signs in and consents
// automatically, and an API that verifies each token by introspection (RFC 7662).
//
//   node oidc.mjs [--rotation strict|none] [--lifetime SECONDS] [--delay MILLISECONDS] [--redirect-uri ADDRESS]
//
// strict: a refresh token is valid for one use, and a second use revokes the sign-in. none: it can be reused.
// --lifetime is the lifetime of access tokens. --delay is the time that the token endpoint waits before it reads a request and
// before it responds.
//
// Beside the login server's own paths, `/api/..` returns the user of the token. `/_log` returns the requests and responses of
// the token endpoint, the number of different tokens in calls of the API, and the number of revocations.
import { createHash, generateKeyPairSync, randomBytes } from 'node:crypto';
import { createServer } from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import Provider from 'oidc-provider';

const { values: options } = parseArgs({
  options: {
    rotation: { type: 'string', default: 'strict' },
    lifetime: { type: 'string', default: '3600' },
    delay: { type: 'string', default: '0' },
    'redirect-uri': { type: 'string', default: 'http://127.0.0.1:8700/rest/v1/oauth2/callback' },
  },
});
const number = (name) => {
  const value = Number(options[name]);
  if (!Number.isInteger(value) || value < 0) throw new Error(`--${name} is not a whole number`);
  return value;
};
const [lifetime, delay] = [number('lifetime'), number('delay')];
if (!['strict', 'none'].includes(options.rotation)) throw new Error('--rotation is strict or none');

// The provider's own memory drops the oldest of 1,000 entries. This one keeps all, so that a lost sign-in is the client's fault.
class Memory {
  static entries = new Map();
  constructor(kind) {
    this.kind = kind;
  }
  key(id) {
    return `${this.kind}:${id}`;
  }
  async upsert(id, payload, expiresIn) {
    Memory.entries.set(this.key(id), { payload, until: expiresIn ? Date.now() + expiresIn * 1000 : Infinity });
  }
  async find(id) {
    const entry = Memory.entries.get(this.key(id));
    return entry && entry.until > Date.now() ? { ...entry.payload } : undefined;
  }
  async findByUid(uid) {
    for (const [key, { payload }] of Memory.entries) {
      if (key.startsWith(`${this.kind}:`) && payload.uid === uid) return { ...payload };
    }
    return undefined;
  }
  async findByUserCode() {
    return undefined;
  }
  async consume(id) {
    Memory.entries.get(this.key(id)).payload.consumed = Math.floor(Date.now() / 1000);
  }
  async destroy(id) {
    Memory.entries.delete(this.key(id));
  }
  async revokeByGrantId(grantId) {
    for (const [key, { payload }] of Memory.entries) if (payload.grantId === grantId) Memory.entries.delete(key);
  }
}

const client = (id, method) => ({
  client_id: id,
  client_secret: `${id}-secret`,
  token_endpoint_auth_method: method,
  redirect_uris: [options['redirect-uri']],
  grant_types: ['authorization_code', 'refresh_token'],
  response_types: ['code'],
});
const API = ['api', 'api-secret'];

const server = createServer();
await new Promise((listening) => server.listen(0, '127.0.0.1', listening));
const issuer = `http://127.0.0.1:${server.address().port}`;

const signing = generateKeyPairSync('rsa', { modulusLength: 2048 }).privateKey.export({ format: 'jwk' });
const provider = new Provider(issuer, {
  adapter: Memory,
  jwks: { keys: [{ ...signing, use: 'sig', alg: 'RS256' }] },
  cookies: { keys: [randomBytes(32).toString('base64url')] },
  clients: [
    client('by-post', 'client_secret_post'),
    client('by-basic', 'client_secret_basic'),
    { client_id: API[0], client_secret: API[1], redirect_uris: [], response_types: [], grant_types: [] },
  ],
  claims: { openid: ['sub'] },
  findAccount: (_, id) => ({ accountId: id, claims: async () => ({ sub: id }) }),
  pkce: { required: () => true },
  rotateRefreshToken: options.rotation === 'strict',
  features: {
    devInteractions: { enabled: false },
    introspection: { enabled: true, allowedPolicy: () => true },
    revocation: { enabled: true },
  },
  interactions: { url: (_, interaction) => `/interaction/${interaction.uid}` },
  ttl: { AccessToken: lifetime, AuthorizationCode: 60, Grant: 86400, IdToken: 3600, Interaction: 600, RefreshToken: 86400, Session: 86400 },
});

const entries = new WeakMap();
const log = { token: [], tokensUsed: new Set(), calls: 0, refused: 0, revocations: 0 };

// Signs in and consents, as a user does with two clicks.
async function interaction(request, response) {
  const { prompt, params, session } = await provider.interactionDetails(request, response);
  if (prompt.name === 'login') {
    return provider.interactionFinished(request, response, { login: { accountId: 'ada' } });
  }
  const grant = new provider.Grant({ accountId: session.accountId, clientId: params.client_id });
  grant.addOIDCScope(params.scope);
  return provider.interactionFinished(request, response, { consent: { grantId: await grant.save() } });
}

async function api(request, response) {
  log.calls += 1;
  const token = /^Bearer (\S+)$/.exec(request.headers.authorization ?? '')?.[1] ?? '';
  const asked = await fetch(`${issuer}/token/introspection`, {
    method: 'POST',
    headers: { authorization: `Basic ${Buffer.from(API.join(':')).toString('base64')}` },
    body: new URLSearchParams({ token }),
  });
  const { active, sub, scope } = await asked.json();
  if (active) log.tokensUsed.add(createHash('sha256').update(token).digest('hex'));
  else log.refused += 1;
  answer(response, active ? 200 : 401, active ? { sub, scope } : { error: 'invalid_token' });
}

function answer(response, status, body) {
  response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body));
}

// Waits before the request is read and before the response is sent, so that a test can kill a caller at either time.
async function token(request, response) {
  const entry = { grant: null, status: null, error: null };
  log.token.push(entry);
  entries.set(request, entry);
  const end = response.end.bind(response);
  response.end = (body, ...rest) => {
    entry.status = response.statusCode;
    entry.error = /"error":"(\w+)"/.exec(String(body ?? ''))?.[1] ?? null;
    sleep(delay).then(() => end(body, ...rest));
    return response;
  };
  await sleep(delay);
  provider.callback()(request, response);
}

for (const outcome of ['grant.success', 'grant.error']) {
  provider.on(outcome, (ctx) => {
    const entry = entries.get(ctx.req);
    if (entry) entry.grant = ctx.oidc?.params?.grant_type ?? null;
  });
}

server.on('request', (request, response) => {
  const { pathname } = new URL(request.url, issuer);
  if (pathname === '/token/revocation') log.revocations += 1;
  let work;
  if (pathname.startsWith('/interaction/')) work = interaction(request, response);
  else if (pathname.startsWith('/api/')) work = api(request, response);
  else if (pathname === '/_log') work = Promise.resolve(answer(response, 200, { ...log, tokensUsed: log.tokensUsed.size }));
  else if (pathname === '/token' && request.method === 'POST') work = token(request, response);
  else work = provider.callback()(request, response);
  Promise.resolve(work).catch((error) => {
    console.error(error);
    if (!response.headersSent) answer(response, 500, { error: String(error) });
  });
});

console.log(`oidc-provider listens at ${issuer}`);
