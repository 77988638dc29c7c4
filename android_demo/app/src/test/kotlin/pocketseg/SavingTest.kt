package pocketseg

import android.app.Activity
import android.content.ContentValues
import android.content.Context
import android.content.Intent
import android.media.MediaFormat
import android.net.Uri
import android.provider.MediaStore
import org.junit.After
import org.junit.Assert.assertEquals
import org.junit.Assert.assertThrows
import org.junit.Assert.assertTrue
import org.junit.Before
import org.junit.Test
import org.junit.runner.RunWith
import org.robolectric.Robolectric
import org.robolectric.RobolectricTestRunner
import org.robolectric.Shadows.shadowOf
import org.robolectric.annotation.Config
import org.robolectric.annotation.GraphicsMode
import pocketseg.demo.MainActivity
import pocketseg.demo.PictureView
import pocketseg.demo.R
import pocketseg.demo.copyIn
import pocketseg.demo.openModel
import pocketseg.model.Device
import pocketseg.model.Segmenter
import pocketseg.pixels.Size
import java.io.ByteArrayOutputStream
import java.io.File
import java.io.IOException
import java.io.InputStream
import java.nio.ByteBuffer
import java.util.concurrent.CopyOnWriteArrayList
import java.util.concurrent.CountDownLatch
import java.util.concurrent.TimeUnit

/** Videos from the app's buttons to the gallery, with the fakes of `FakeMedia.kt`, and copies that break off. */
@RunWith(RobolectricTestRunner::class)
@Config(sdk = [35], qualifiers = "w411dp-h891dp-xhdpi", shadows = [FakeCodec::class, FakeExtractor::class, FakeMuxer::class])
@GraphicsMode(GraphicsMode.Mode.NATIVE)
class SavingTest : AppFixture() {
    class Gallery : Names() {
        val taken = CopyOnWriteArrayList<String>()

        override fun insert(uri: Uri, values: ContentValues?): Uri {
            taken += values!!.getAsString(MediaStore.MediaColumns.DISPLAY_NAME)
            return Uri.withAppendedPath(uri, "${taken.size}")
        }
    }

    private val written = ByteArrayOutputStream()
    private lateinit var gallery: Gallery

    @Before
    fun openGallery() {
        Media.reset()
        gallery = Robolectric.setupContentProvider(Gallery::class.java, MediaStore.AUTHORITY)
        shadowOf(context.contentResolver).registerOutputStream(Uri.withAppendedPath(MediaStore.Video.Media.EXTERNAL_CONTENT_URI, "1"), written)
    }

    @After
    fun reset() = Media.reset()

    private fun videos() = File(context.cacheDir, "shared").listFiles().orEmpty().filter { it.extension == "mp4" }

    private fun recordAndLeave() {
        fakeCamera(Size(64, 48))
        click(launch(), R.id.record)
        wait("some frames") { Media.queued.size > 3 }
        controllers.removeLast().pause().stop().destroy() // as Back does, or a change of the language
    }

    @Test
    fun aRecordingThatRunsWhenTheActivityGoesIsInTheGallery() {
        recordAndLeave()
        wait("the gallery") { "$written" == "whole" }
        assertEquals(videos().map { it.name }, gallery.taken)
    }

    @Test
    fun beforeAndroid10ARecordingThatRanWhenTheActivityWentIsAskedAboutByTheNextOne() = onAndroid9 {
        recordAndLeave()
        val preferences = context.getSharedPreferences("MainActivity", Context.MODE_PRIVATE)
        wait("the end of the recording") { preferences.contains("unplaced") }
        val activity = launch()
        val asked = placeAsked(activity)
        assertEquals(videos().single().name, asked.getStringExtra(Intent.EXTRA_TITLE))
        val place = Uri.parse("content://documents/1")
        val out = ByteArrayOutputStream()
        shadowOf(context.contentResolver).registerOutputStream(place, out)
        shadowOf(activity).receiveResult(asked, Activity.RESULT_OK, Intent().setData(place))
        wait("the message") { text(activity, R.id.message) == "Saved" }
        assertEquals("whole", "$out")
        assertTrue("asked once", !preferences.contains("unplaced"))
    }

    @Test
    fun aRecordingStopsAndIsStoredWhereItsButtonIsPressed() {
        fakeCamera(Size(64, 48))
        val activity = launch()
        click(activity, R.id.record)
        assertTrue(activity.state.recording)
        wait("some frames") { Media.queued.size > 3 }
        activity.findViewById<PictureView>(R.id.picture).sizeChanged(2.0) // the phone is turned
        val before = Media.queued.size
        wait("some more") { Media.queued.size > before + 3 }
        click(activity, R.id.record)
        assertTrue(!activity.state.recording)
        wait("the message") { text(activity, R.id.message) == "Saved to Movies/PocketSeg" }
        assertEquals("whole", "$written")
    }

    @Test
    fun aVideoThatIsSavedAgainAfterCancelIsTheOneThatIsWritten() {
        val format = MediaFormat.createVideoFormat("video/avc", 32, 20)
        Media.tracks = listOf(Track(format, MutableList(9) { Sample(it * 33_333L, byteArrayOf((100 + it).toByte())) }))
        val gates = List(2) { CountDownLatch(1) }
        val conversions = CopyOnWriteArrayList<BrightSegmenter>()
        openModel = { spec, _, delegate, threads ->
            val model = BrightSegmenter(spec, Device(delegate, threads))
            if (Thread.currentThread().name != "convert") model
            else {
                val gate = gates[conversions.size]
                conversions += model
                object : Segmenter by model {
                    override fun run(input: ByteBuffer, output: ByteBuffer) {
                        gate.await(20, TimeUnit.SECONDS)
                        model.run(input, output)
                    }
                }
            }
        }
        val video = Intent(Intent.ACTION_VIEW).setDataAndType(Uri.parse("content://gallery/video.mp4"), "video/mp4")
        val activity = launch(video.setClass(context, MainActivity::class.java))
        wait("the video, over and over") { (activity.state.report?.frames ?: 0) > 9 }
        click(activity, R.id.shutter)
        wait("the first") { conversions.size == 1 && visible(activity, R.id.action) }
        click(activity, R.id.action) // cancel
        click(activity, R.id.shutter)
        wait("the second") { conversions.size == 2 }
        gates[0].countDown()
        wait("the end of the first") { conversions[0].closed == 1 }
        assertTrue("the second can be cancelled", visible(activity, R.id.action))
        gates[1].countDown()
        wait("the message") { text(activity, R.id.message) == "Saved to Movies/PocketSeg" }
        assertEquals("one of both", listOf(videos().single().name), gallery.taken)
        assertEquals(listOf("whole", 9), listOf("$written", Media.written.single().samples.size))
    }

    @Test
    fun aCopyThatBreaksOffLeavesWhatWasThere() {
        val file = File(context.filesDir, "background").apply { writeText("the one before") }
        val uri = Uri.parse("content://gallery/next.png")
        shadowOf(context.contentResolver).registerInputStreamSupplier(uri) {
            object : InputStream() {
                private var left = 100

                override fun read() = if (left-- > 0) 7 else throw IOException("unplugged")
            }
        }
        val before = context.filesDir.list()!!.toSet()
        assertThrows(IOException::class.java) { copyIn(context, uri, file) }
        assertEquals("the one before", file.readText())
        assertEquals("and nothing else", before, context.filesDir.list()!!.toSet())
        offer("$uri", "the next".toByteArray())
        copyIn(context, uri, file)
        assertEquals("the next", file.readText())
    }
}
