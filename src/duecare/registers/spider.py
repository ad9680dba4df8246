"""The crawling process: reads jobs on standard input, crawls them with Scrapy, and tells on standard output.

It stays up between jobs, so that many small crawls do not each pay for the start. Both ways speak JSON, a line a
message; see ``crawl`` for the words.

The rule of this module: a page is in the pack before anyone is told that it was fetched; and when whoever started this
process is gone, so is it.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import threading
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from scrapy import Request, Spider
from scrapy.crawler import AsyncCrawlerRunner, Crawler
from scrapy.exceptions import IgnoreRequest
from scrapy.http import Response

from duecare.registers.fetch import retry_after
from duecare.store.packs import PackWriter

_KEPT_STATUSES = (200, 404, 410)
_DOWN_AFTER = 25
_TELL_EVERY = 0.1
_HANDLER = "scrapy.core.downloader.handlers._aiohttp.AiohttpDownloadHandler"
_SETTINGS: dict[str, Any] = {
    "TWISTED_REACTOR_ENABLED": False,
    "DOWNLOAD_HANDLERS": {"http": _HANDLER, "https": _HANDLER},
    "DOWNLOAD_VERIFY_CERTIFICATES": True,
    "DOWNLOAD_DELAY_JITTER": 0.0,
    "DOWNLOAD_MAXSIZE": 32 << 20,
    "DOWNLOAD_WARNSIZE": 0,
    "ROBOTSTXT_OBEY": True,
    "RETRY_HTTP_CODES": [408, 500, 502, 504, 520, 522, 524],
    "COOKIES_ENABLED": False,
    "TELNETCONSOLE_ENABLED": False,
    "EXTENSIONS_BASE": {},
    "DUPEFILTER_CLASS": "scrapy.dupefilters.BaseDupeFilter",
    "SPIDER_MIDDLEWARES_BASE": {},
    "DOWNLOADER_MIDDLEWARES_BASE": {
        "scrapy.downloadermiddlewares.robotstxt.RobotsTxtMiddleware": 100,
        "scrapy.downloadermiddlewares.downloadtimeout.DownloadTimeoutMiddleware": 350,
        "scrapy.downloadermiddlewares.useragent.UserAgentMiddleware": 500,
        "scrapy.downloadermiddlewares.retry.RetryMiddleware": 550,
        "scrapy.downloadermiddlewares.httpcompression.HttpCompressionMiddleware": 590,
    },
}


class Patience:
    """Waits when the site says so (429, 503), with all requests; and stops asking a site that is down."""

    def __init__(self, crawler: Crawler) -> None:
        self._crawler = crawler
        self._waits = crawler.settings.getint("DUECARE_WAITS")
        self._resume = 0.0

    @classmethod
    def from_crawler(cls, crawler: Crawler) -> Patience:
        """As Scrapy makes its middlewares."""
        return cls(crawler)

    async def process_request(self, request: Request) -> None:
        """Hold a request back until the site may be asked again."""
        spider = self._crawler.spider
        if isinstance(spider, PageSpider) and spider.refusals >= _DOWN_AFTER:
            raise IgnoreRequest("the site is down")
        loop = asyncio.get_running_loop()
        while (wait := self._resume - loop.time()) > 0:
            await asyncio.sleep(wait)

    def process_response(self, request: Request, response: Response) -> Request | Response:
        """Ask again later where the site asks for patience."""
        if response.status not in (429, 503):
            return response
        named = retry_after((response.headers.get("Retry-After") or b"").decode("latin-1"), datetime.now(UTC))
        waited = request.meta.get("waited", 0)
        self._resume = max(self._resume, asyncio.get_running_loop().time() + (2.0**waited if named is None else named))
        if waited >= self._waits:
            return response
        again = request.copy()
        again.meta["waited"] = waited + 1
        again.dont_filter = True
        return again


class PageSpider(Spider):
    """Fetches the pages of one job into its pack."""

    name = "pages"

    def __init__(self, job: dict[str, Any]) -> None:
        super().__init__()
        self.job = job
        self.refusals = 0
        self.fetched = 0
        self._done = 0
        self._told = 0.0
        self._offset = timedelta(seconds=job["offset"])
        self._pack = PackWriter(Path(job["pack"]))

    async def start(self) -> AsyncIterator[Request]:
        """The requests of the job."""
        for entity, url in self.job["pages"]:
            yield Request(url, self.parse, errback=self.lost, cb_kwargs={"entity": entity}, dont_filter=True)

    def parse(self, response: Response, entity: str = "") -> None:
        """Keep a page."""
        self.refusals = 0
        if response.status in _KEPT_STATUSES:
            at = datetime.now(UTC) + self._offset
            self._pack.add(entity, response.url, at, response.status, response.body)
            self.fetched += 1
            if response.status == 200:
                self._count()
            else:
                self._fail(entity, f"answered {response.status}: the site has no such page")
        else:
            self._fail(entity, f"answered {response.status}")

    def lost(self, failure: Any) -> None:
        """Say why a page could not be had."""
        entity, error = failure.request.cb_kwargs["entity"], failure.value
        if isinstance(error, IgnoreRequest) and "robots" in str(error):
            tell("forbidden", entity=entity)
            self._count()
            return
        if not isinstance(error, IgnoreRequest):
            self.refusals += 1
        self._fail(entity, str(error) if isinstance(error, IgnoreRequest) else f"{type(error).__name__}: {error}")

    def close_pack(self) -> None:
        """Put the pack on the disk."""
        self._pack.close()

    def _fail(self, entity: str, reason: str) -> None:
        tell("failed", entity=entity, reason=reason)
        self._count()

    def _count(self) -> None:
        self._done += 1
        now = asyncio.get_running_loop().time()
        if now - self._told >= _TELL_EVERY:
            self._told = now
            tell("progress", done=self._done)


def tell(event: str, **what: Any) -> None:
    """A message to whoever started this process."""
    sys.stdout.write(json.dumps({"event": event, **what}, ensure_ascii=False) + "\n")
    sys.stdout.flush()


def settings(job: dict[str, Any]) -> dict[str, Any]:
    """Scrapy's settings for ``job``; the delay between two requests is in seconds."""
    return _SETTINGS | {
        "USER_AGENT": job["user_agent"],
        "ROBOTSTXT_USER_AGENT": job["user_agent"],
        "ROBOTSTXT_OBEY": job["robots"],
        "DOWNLOAD_DELAY": job["delay"],
        "CONCURRENT_REQUESTS": job["concurrent"],
        "CONCURRENT_REQUESTS_PER_DOMAIN": job["concurrent"],
        "DOWNLOAD_TIMEOUT": job["timeout"],
        "RETRY_TIMES": job["attempts"] - 1,
        "DUECARE_WAITS": job["waits"],
        "DOWNLOADER_MIDDLEWARES": {Patience: 560},
    }


async def work() -> None:
    """Do the jobs that come, one after another, until the input ends."""
    jobs: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
    loop = asyncio.get_running_loop()
    threading.Thread(target=_listen, args=(loop, jobs), daemon=True).start()
    tell("ready")
    while True:
        job = await jobs.get()
        runner = AsyncCrawlerRunner(settings(job))
        crawler = runner.create_crawler(PageSpider)
        try:
            await crawler.crawl_async(job)
            spider = crawler.spider
            assert isinstance(spider, PageSpider)
            spider.close_pack()
            tell("end", fetched=spider.fetched)
        except Exception as error:
            tell("broken", reason=f"{type(error).__name__}: {error}")


def _listen(loop: asyncio.AbstractEventLoop, jobs: asyncio.Queue[dict[str, Any]]) -> None:
    for line in sys.stdin:
        loop.call_soon_threadsafe(jobs.put_nowait, json.loads(line))
    # In the loop's own turn, so that no page is half written.
    loop.call_soon_threadsafe(os._exit, 0)


if __name__ == "__main__":
    import logging

    logging.disable(logging.ERROR)
    asyncio.run(work())
